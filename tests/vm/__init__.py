"""Two virtual machines that boot the appliance image, and what is done to them."""
