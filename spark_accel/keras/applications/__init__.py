"""What `keras.applications` has, on the accelerator: `resnet50`."""
