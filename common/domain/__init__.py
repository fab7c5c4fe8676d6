"""What is read, here handwritten digits: the one folder to replace. Imports the `Problem` of `service`."""
