// NVIDIA's container toolkit: nvidia-ctk writes CDI specifications, nvidia-cdi-hook runs in them.
module sciencebox.test/nvidia

go 1.26.0

require github.com/NVIDIA/nvidia-container-toolkit v1.20.1
