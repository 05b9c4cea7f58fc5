"""The paper's rule and its seams: what tells hard samples, what gives a second view on them, and how both are joined."""
