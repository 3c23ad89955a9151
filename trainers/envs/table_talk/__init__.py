"""TableTalk: a table seen from above, a gripper, some blocks, and seven things to do with them.

Small enough to run tens of thousands of steps a second, and made to be talked to: everything on the table has a name,
every failure can be put right in a sentence, and defects (a camera that is off, fingers that slip) are turned on by
dials and come again at the same seed. numpy alone, so that whatever serves the page can run it too.
"""

from trainers.envs.table_talk.rules import privileged_command, privileged_motion
from trainers.envs.table_talk.table import TableTalk
from trainers.envs.table_talk.tasks import TASKS
from trainers.envs.table_talk.world import Command, Dials, Observation

__all__ = [
    "TASKS",
    "Command",
    "Dials",
    "Observation",
    "TableTalk",
    "privileged_command",
    "privileged_motion",
]
