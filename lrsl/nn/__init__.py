"""What all networks share: batches of tokens, pretrained weights, optimisation, precision, dropout."""
