"""Reports and figures. matplotlib and jinja2 are imported on first use."""
