"""Small tools for the data of a Task; whatever they draw comes from the named streams of the seed."""
