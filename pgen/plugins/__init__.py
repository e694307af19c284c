"""What a model plug-in is, and how pgen finds it. Imported by every other room, imports none of them."""
