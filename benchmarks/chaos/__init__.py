"""Every part killed, stopped and cut off while a recorded hour is played through all of them: is anything lost?"""
