"""Power sources: one file for each kind of sensor, counter or model, and the finder that ranks them."""
