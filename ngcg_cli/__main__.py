"""`python -m ngcg_cli` is `ngcg`."""

from ngcg_cli.app import main

if __name__ == "__main__":
    main()
