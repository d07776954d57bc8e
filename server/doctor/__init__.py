"""`nanoedge doctor`: looks at everything that an edit or the server needs here, and says how to mend what is wrong."""
