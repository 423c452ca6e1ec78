# Redraw with `gnuplot attention_heads.gp` in the folder that holds this, both styles and the data.
load 'style.gp'
load 'attention_style.gp'
load 'attention_heads_data.gp'
L = words(layers); H = words(heads)
gap = panel < 100 ? 4 : 8
left = 70; right = 110; top = 70; bottom = 30
W = left + right + H * (panel + gap); W = W < 700 ? 700 : W
Hh = top + bottom + L * (panel + gap)
set border 15 lw 0.6 lc rgb '#888888'
unset xtics; unset ytics; unset key; unset colorbox
set xrange [key_0 - 0.5 : end - 0.5]
set yrange [end - 0.5 : query_0 - 0.5]
sx = (end - key_0) / real(width); sy = (end - query_0) / real(height)
x0 = key_0 - 0.5 + sx / 2; y0 = query_0 - 0.5 + sy / 2
do for [t in 'svg png'] {
    if (t eq 'svg') { set terminal svg size W,Hh background '#ffffff' font 'DejaVu Sans,11' } \
    else { set terminal pngcairo size 2*W,2*Hh fontscale 2 linewidth 2 font 'DejaVu Sans,11' background '#ffffff' }
    set output 'attention_heads.'.t
    set multiplot
    set label 1 title at screen 0.5, screen 1 - 20.0 / Hh center font ',13' noenhanced
    do for [l = 1:L] {
        do for [h = 1:H] {
            set lmargin at screen (left + (h - 1) * (panel + gap)) / real(W)
            set rmargin at screen (left + (h - 1) * (panel + gap) + panel) / real(W)
            set tmargin at screen 1 - (top + (l - 1) * (panel + gap)) / real(Hh)
            set bmargin at screen 1 - (top + (l - 1) * (panel + gap) + panel) / real(Hh)
            unset label 2; unset label 3
            if (l == 1) { set label 2 'head '.word(heads, h) at graph 0.5, graph 1 offset 0, 0.7 center font panel < 100 ? ',8' : ',10' }
            if (h == 1) { set label 3 'layer '.word(layers, l) at graph 0, graph 0.5 offset -1.2, 0 right font panel < 100 ? ',8' : ',10' }
            if (l == 1 && h == H) { set colorbox user origin screen 1 - 95.0 / W, screen 0.25 size screen 14.0 / W, screen 0.5
                                    set cblabel 'probability' } \
            else { unset colorbox }
            plot 'attention_heads.bin' binary array=(width, height) skip=4*width*height*((l-1)*H+h-1) dx=sx dy=sy origin=(x0, y0) \
                format='%float' with image
            unset label 1
        }
    }
    unset multiplot
    unset output
}
