"""The contract of a check, probes, scheduler, spool and publisher."""
