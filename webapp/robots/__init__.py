"""Robots at work: live sessions that people steer by words and keys, watched by many, recorded to the last step."""
