"""What a trained network says of images: scores, decisions, and where it sees a class."""
