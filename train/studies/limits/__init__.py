"""What more data would bring: abilities of small models against the number of pictures, captions and voices."""
