"""`python -m tests.brisk run ...` is `ullage run ...`, impatient with drivers that hang."""

from collectors import apart
from collectors.reading import Seconds
from supervisor.cli.main import main

apart.GIVE_UP = Seconds(2.5)
apart.FIRST_PAUSE = Seconds(0.3)

if __name__ == "__main__":
    main()
