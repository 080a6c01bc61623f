//! Decides from a recorded history whether a store was linearizable, and proves it.
