"""The controller: turns SiDDistillation resources into training pods and reports on them."""
