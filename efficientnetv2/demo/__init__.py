"""A web page that shows what an exported model makes of a picture."""
