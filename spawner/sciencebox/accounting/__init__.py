"""Who had which GPU, from when to when: kept for the fair share, for reports and for quotas."""
