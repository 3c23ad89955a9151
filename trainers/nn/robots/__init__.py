"""A robot that takes commands: a low level that carries them out, a high level that chooses among a bank of them."""

from trainers.nn.robots.robot import Robot, RobotConfig, Together

__all__ = ["Robot", "RobotConfig", "Together"]
