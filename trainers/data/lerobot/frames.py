"""What a frame of ours holds, by the names that the format has for it."""

OURS = "meta/kibitz.json"
SEEN, DONE = "observation.state", "action"
SCALARS = {
    "next.reward": "float32", "next.done": "bool", "timestamp": "float32", "frame_index": "int64",
    "episode_index": "int64", "index": "int64", "task_index": "int64", "subtask_index": "int64",
    "kibitz.score": "float32", "kibitz.command": "int64", "kibitz.commander": "int64", "kibitz.actor": "int64",
}  # fmt: skip
