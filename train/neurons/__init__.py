"""The spiking neurons and their parallel forms; ``methods`` names them."""
