"""A homeserver that costs next to nothing, so that the system under test is what is measured."""
