"""The chart's Grafana dashboard: `python -m tools.dashboard` writes charts/maprun/files/dashboard.json.

`runs`, `children` and `operator` say what is shown, `queries` how it is asked for, `panels` how a kind of panel looks.

Rule 1: Grafana's types are named in `panels` and in `__main__` alone.
"""
