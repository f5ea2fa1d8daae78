"""The packaged demonstration: an invented news world, served as real feeds over loopback HTTP."""
