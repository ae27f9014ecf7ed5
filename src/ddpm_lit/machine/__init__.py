"""Con qué se calcula: los dispositivos, los procesos y los paquetes opcionales de esta máquina."""
