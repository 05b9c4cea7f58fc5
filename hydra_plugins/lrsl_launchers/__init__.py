"""Launchers that run each job of a sweep in a process of its own: by joblib, by submitit (Slurm), by Ray.

Hydra looks for launchers in folders named hydra_plugins. Those of hydra-joblib-launcher and hydra-submitit-launcher
give up the sweep, or its summary, over one job that the system kills, so they only lend their settings;
hydra-ray-launcher cannot be installed beside a current joblib, so Ray has settings here. Hydra imports all of this
whenever it starts; joblib, submitit and ray wait until there are jobs.
"""
