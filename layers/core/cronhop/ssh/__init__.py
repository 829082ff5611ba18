"""SSH: paramiko and the remote runner; nothing else imports paramiko."""

import sys

# paramiko.config imports `invoke` for a feature of ssh_config files that is not used
# here; where it is installed, that costs a cold start 35 ms. None makes the import
# fail, which paramiko is prepared for.
sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
