"""The paper's rule and its seams: what tells hard samples, what gives a second view, and how both are joined."""
