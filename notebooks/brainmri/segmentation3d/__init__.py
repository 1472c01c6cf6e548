"""Core and oedema of brain tumours in four MRI modalities: cases, made-up cohorts, networks, training, measurement."""
