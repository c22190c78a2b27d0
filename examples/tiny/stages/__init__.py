"""The stages of the recipe of `tiny`: from archives to a trained student."""
