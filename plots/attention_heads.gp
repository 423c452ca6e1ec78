# attention of all heads of a file, a sheet framed by the heads' classes (raas plot attention FILE)
# Redraw with `gnuplot attention_heads.gp` in the folder that holds this, both styles and the data.
load 'style.gp'
load 'attention_style.gp'
load 'attention_heads_data.gp'
L = words(layers); H = words(heads)
gap = panel < 100 ? 6 : 10
left = 70; right = 130; top = 92; bottom = 16
W = left + right + H * (panel + gap); W = W < 760 ? 760 : W
Hh = top + bottom + L * (panel + gap)
unset xtics; unset ytics; unset key; unset colorbox
set xrange [key_0 - 0.5 : end - 0.5]
set yrange [end - 0.5 : query_0 - 0.5]
sx = (end - key_0) / real(width); sy = (end - query_0) / real(height)
x0 = key_0 - 0.5 + sx / 2; y0 = query_0 - 0.5 + sy / 2

scale = panel > 180 || L * (panel + gap) < 180 ? panel : 180 # of the colours, in pixels

# The classes that there are, in a row below the title.
place(w) = words(substr(' '.head_classes.' ', 1, strstrt(' '.head_classes.' ', ' '.w.' '))) + 1
array heads_of[4] = [0, 0, 0, 0]
do for [k in classes] { heads_of[place(k)] = heads_of[place(k)] + 1 }
do for [t in 'svg png'] {
    if (t eq 'svg') { set terminal svg size W,Hh background '#ffffff' font 'DejaVu Sans,11' noenhanced } \
    else { set terminal pngcairo size 2*W,2*Hh fontscale 2 linewidth 2 font 'DejaVu Sans,11' background '#ffffff' noenhanced }
    set output 'attention_heads.'.t
    set multiplot
    set label 1 title at screen 0.5, screen 1 - 20.0 / Hh center font ',13' noenhanced
    at = left
    do for [k = 1:4] {
        if (heads_of[k]) {
            set label 10 + k sprintf('%s (%d)', word(head_classes, k), heads_of[k]) at screen (at + 20.0) / W, screen 1 - 50.0 / Hh left font ',10'
            set object 10 + k rectangle from screen at / real(W), screen 1 - 56.0 / Hh to screen (at + 14.0) / W, screen 1 - 44.0 / Hh \
                fillcolor rgb head_colour(k) fillstyle solid noborder
            at = at + 140
        }
    }
    set label 20 sprintf('used: a ≥ %s, more than %d back', theta, window) at screen 1 - 16.0 / W, screen 1 - 50.0 / Hh right font ',10' tc rgb '#444444'
    do for [l = 1:L] {
        do for [h = 1:H] {
            set lmargin at screen (left + (h - 1) * (panel + gap)) / real(W)
            set rmargin at screen (left + (h - 1) * (panel + gap) + panel) / real(W)
            set tmargin at screen 1 - (top + (l - 1) * (panel + gap)) / real(Hh)
            set bmargin at screen 1 - (top + (l - 1) * (panel + gap) + panel) / real(Hh)
            set border 15 lw 2.4 lc rgb head_colour(place(word(classes, (l - 1) * H + h)))
            unset label 2; unset label 3
            if (l == 1) { set label 2 'head '.word(heads, h) at graph 0.5, graph 1 offset 0, 0.7 center font panel < 100 ? ',8' : ',10' }
            if (h == 1) { set label 3 'layer '.word(layers, l) at graph 0, graph 0.5 offset -1.2, 0 right font panel < 100 ? ',8' : ',10' }
            if (l == 1 && h == H) { set colorbox user noborder origin screen 1 - (right - 16.0) / W, screen 1 - (top + scale) / real(Hh) \
                                        size screen 14.0 / W, screen scale / real(Hh)
                                    set cbtics font ',8'
                                    set label 4 'probability' at screen 1 - 20.0 / W, screen 1 - (top + scale / 2.0) / Hh center rotate font ',9' } \
            else { unset colorbox; unset label 4 }
            plot 'attention_heads.bin' binary array=(width, height) skip=4*width*height*((l-1)*H+h-1) dx=sx dy=sy origin=(x0, y0) \
                format='%float' with image
            unset label; unset object
        }
    }
    unset multiplot
    unset output
}
