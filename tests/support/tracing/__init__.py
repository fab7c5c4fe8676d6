"""What tools that trace requests see."""
