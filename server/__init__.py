"""The HTTP server and the web page over `edge_runtime`. Never imports torch, converters or mobile_export."""
