"""LeRobot's dataset format: v3.0 out, v3.0 and v2.1 in. A folder of Parquet and JSON:

    meta/info.json                               what a frame holds, how many there are, where they lie
    meta/tasks.parquet, meta/subtasks.parquet    a number for each text
    meta/episodes/chunk-000/file-000.parquet     an episode a row: its length, its place, its statistics
    meta/stats.json                              the statistics of all frames
    data/chunk-000/file-000.parquet              a frame a row
    meta/kibitz.json                             ours: what a frame cannot hold, so that an episode comes back exactly

`observation.state` is what was seen, `action` what was done, `next.reward` what came of it. What the robot was asked
is the task; what it was told at a frame is the subtask. Pictures that an episode has of its own are the feature
`observation.images.main`, of dtype "image"; elsewhere the state that pictures are drawn from is kept as
`kibitz.state`. No video is written or read: of a foreign dataset the numbers come in, and the pictures of one camera.
"""

from trainers.data.lerobot.reading import Brought, read
from trainers.data.lerobot.writing import write

__all__ = ["Brought", "read", "write"]
