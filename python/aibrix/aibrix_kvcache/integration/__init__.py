"""What runs inside engines."""
