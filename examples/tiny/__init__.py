"""The recipe of the bundled model `tiny`: teachers, distillation, export."""
