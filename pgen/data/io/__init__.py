"""From what a user types to images, and from images to files."""
