"""forewarn"""
