"""`python -m modelrollout.operator`."""

from modelrollout.operator.main import main

raise SystemExit(main())
