"""Work on whole sets of images: in parallel, resumable, summarised."""
