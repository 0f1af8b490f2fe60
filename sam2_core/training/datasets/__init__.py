"""Where training clips come from: datasets on disk and rendered scenes, all read in the same way."""
