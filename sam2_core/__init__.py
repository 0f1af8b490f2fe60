"""SAM 2.1 without ROS: the network, the streaming tracker, scenes, training and evaluation."""
