"""TableTalk with physics: the same table, tasks, dials and rules, with things that have weight and run into each other.

A policy of one runs on the other: what is seen and done is the same, at the same places at the same seed. What is
physics here: things lie by their weight, rub, stack, tip over, and are pushed by whatever touches them. What is not:
the fingers take hold by a weld that MuJoCo switches on, of what is within reach, and draw its middle between them; the
hole for the peg is a mark; and the hand goes up and down by itself: high when open, low to push, and just above
whatever lies in the way of what it carries.
"""
