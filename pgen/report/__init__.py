"""Reports: results and images made into pictures. matplotlib is imported where a picture is drawn, not before."""
