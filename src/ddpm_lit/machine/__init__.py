"""Qué hay en esta máquina: los dispositivos en que se calcula y los paquetes opcionales."""
