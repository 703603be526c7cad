"""The fault matrix: every command under every fault, resumed and compared byte for byte."""
