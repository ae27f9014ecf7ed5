# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cuaderno: tu primer DDPM
#
# Un cuaderno con $x_t$.

# %%
print("Hola")
