"""`make chaos`: the whole service under random, seeded faults, and the checks that nothing is lost, doubled or wrong.

schedule.py draws the times, faults/ has the faults, world.py runs the processes, clients.py submits
and watches jobs, evidence.py collects what was left, invariants.py judges it, report.py writes it down.
"""
